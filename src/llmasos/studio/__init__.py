"""The Studio: the platform as a web application, beside the APIs in the same server."""
