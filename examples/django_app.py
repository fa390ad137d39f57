"""Thumbs below an answer, in Django.

export SPANBACK_TOKEN_KEYS="$(spanback keys new)"
python examples/django_app.py 8000
"""

import sys
from wsgiref.simple_server import make_server

import openai
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

import spanback
from spanback.web.frameworks import add_feedback

PAGE = """<!doctype html>
<html lang="en">
<title>Ask</title>
<script type="module" src="/feedback/feedback.js"></script>
<script type="module">
  const form = document.querySelector("form");
  form.onsubmit = async (event) => {
    event.preventDefault();
    const response = await fetch("/chat", { method: "POST", body: new FormData(form) });
    document.querySelector("output").textContent = await response.text();
    document.querySelector("feedback-thumbs").setAttribute("token", response.headers.get("X-Feedback-Token"));
  };
</script>
<main>
  <h1>Ask</h1>
  <form><label>Question <input name="question" required></label> <button>Ask</button></form>
  <p><output></output></p>
  <feedback-thumbs></feedback-thumbs>
</main>
"""

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["127.0.0.1", "localhost"])
spanback.instrument()
client = openai.OpenAI()


def page(_: HttpRequest) -> HttpResponse:
    """The page."""
    return HttpResponse(PAGE)


def chat(request: HttpRequest) -> HttpResponse:
    """The answer to a question; the token for feedback on it goes into a header by itself."""
    answer = client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": request.POST["question"]}]
    )
    return HttpResponse(answer.choices[0].message.content, content_type="text/plain")


urlpatterns = [path("", page), path("chat", chat)]
application = add_feedback(get_wsgi_application())

if __name__ == "__main__":
    make_server("127.0.0.1", int(sys.argv[1]), application).serve_forever()
