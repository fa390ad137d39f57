"""Thumbs below an answer, in Flask.

export SPANBACK_TOKEN_KEYS="$(spanback keys new)"
flask --app examples/flask_app.py run
"""

import openai
from flask import Flask, Response, request

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

spanback.instrument()
app = add_feedback(Flask(__name__))
client = openai.OpenAI()


@app.get("/")
def page() -> str:
    """The page."""
    return PAGE


@app.post("/chat")
def chat() -> Response:
    """The answer to a question; the token for feedback on it goes into a header by itself."""
    answer = client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": request.form["question"]}]
    )
    return Response(answer.choices[0].message.content, mimetype="text/plain")
