"""The browser module and the chat app in a real Chromium."""
