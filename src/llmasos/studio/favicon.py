"""The sign of the Studio in a browser's tab."""

from __future__ import annotations

FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#4338ca"/>'
    '<path d="M9 7v18h14v-4H13V7z" fill="#fff"/><circle cx="22" cy="11" r="3.5" fill="#5fd0c2"/></svg>'
)
