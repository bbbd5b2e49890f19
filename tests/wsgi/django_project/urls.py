"""A landing page, and the project's own sign-up with `django.contrib.auth`.

Django's transaction is not SQLAlchemy's, so the conversion cannot be a part of it: `on_commit` writes
it in a transaction of its own, right after. A rollback records nothing; a process that is killed in
the gap between the two commits loses that one conversion.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib.auth.forms import UserCreationForm
from django.db import transaction
from django.http import HttpResponse
from django.middleware.csrf import get_token
from django.urls import path, reverse

from .tracking import services


class TakenBack(Exception):
    """Something in the transaction failed after the user was saved."""


def landing(request: Any) -> HttpResponse:
    click = request.environ["flask_s2s.click"]
    return HttpResponse(f"click: {click and click.click_id}")


def sign_up(request: Any) -> HttpResponse:
    form = UserCreationForm(request.POST or None)
    if not form.is_valid():
        where, token = reverse("signup"), get_token(request)
        return HttpResponse(
            f'<form method="post" action="{where}">{form.as_p()}'
            f'<input name="csrfmiddlewaretoken" value="{token}"></form>'
        )
    try:
        with transaction.atomic():
            user = form.save()
            key = f"django-{user.pk}"
            track = partial(
                services.track_signup,
                customer_key=key,
                email=user.email or None,
                environ=request.environ,
            )
            transaction.on_commit(track)
            if user.username == "taken-back":
                raise TakenBack
    except TakenBack:
        return HttpResponse("sorry", status=409)
    return HttpResponse(f"welcome {key}")


urlpatterns = [path("", landing), path("signup", sign_up, name="signup")]
