"""The forms with their words: what ``entry.html`` shows above, in, at and below the fields."""

from flask_wtf import FlaskForm
from wtforms import EmailField, PasswordField, StringField
from wtforms.validators import DataRequired, InputRequired, Length, Regexp


def _stripped(text: str | None) -> str | None:
    return text and text.strip()


def _address(text: str | None) -> str | None:
    return text and text.strip().lower()


def _name() -> StringField:
    return StringField(
        "Your name",
        [
            DataRequired("Enter your name."),
            Length(max=100, message="Use at most 100 characters for your name."),
        ],
        filters=[_stripped],
        render_kw={"autocomplete": "name"},
    )


def _email() -> EmailField:
    return EmailField(
        "E-mail",
        [
            DataRequired("Enter your e-mail address."),
            Length(max=254, message="Use an address of at most 254 characters."),
            Regexp(
                r"[^@\s]+@[^@\s]+\.[^@\s.]+\Z",
                message="Enter an e-mail address like name@example.com.",
            ),
        ],
        filters=[_address],
        render_kw={"autocomplete": "email", "spellcheck": "false"},
    )


def _new_password() -> PasswordField:
    return PasswordField(
        "Password",
        [
            InputRequired("Choose a password."),
            Length(min=10, message="Choose a password of 10 characters or more."),
            Length(max=200, message="Choose a password of at most 200 characters."),
        ],
        description="10 characters or more. A few words are easy to remember.",
        render_kw={"autocomplete": "new-password"},
    )


class SignupForm(FlaskForm):  # type: ignore[misc]
    """Open an account."""

    heading = "Open your account"
    lead = "Free for three invoices a month. It takes less than a minute."
    action = "Open account"

    name = _name()
    email = _email()
    password = _new_password()


class TrialForm(FlaskForm):  # type: ignore[misc]
    """Try first: no password."""

    heading = "Try Tallyfern now"
    lead = "No password, no card. If you like it, choose a password later and keep everything."
    action = "Start trying"

    name = _name()
    email = _email()


class StudioForm(TrialForm):
    """Join the early-access list."""

    heading = "Studio, for small teams"
    lead = "We open it to a few teams at a time. Leave your name, and look around until then."
    action = "Get early access"


class LetterForm(FlaskForm):  # type: ignore[misc]
    """Ask for the monthly letter."""

    heading = "The Tallyfern letter"
    lead = "One page a month on getting paid in time, and a word when something new opens."
    action = "Write to me"

    email = _email()


class LoginForm(FlaskForm):  # type: ignore[misc]
    """Log in."""

    heading = "Welcome back"
    lead = "Log in to your account. This is the one thing here that needs a cookie."
    action = "Log in"

    email = _email()
    password = PasswordField(
        "Password",
        [InputRequired("Enter your password.")],
        render_kw={"autocomplete": "current-password"},
    )


class PasswordForm(FlaskForm):  # type: ignore[misc]
    """Choose a password, for somebody who joined without one."""

    action = "Set password"

    password = _new_password()
