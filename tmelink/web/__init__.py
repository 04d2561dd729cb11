"""The web page of a running lab: `app` answers the browser, `guard` says who may ask, `static/` is the page.

The page is the client of the control socket, as the command line is; a lab does not know that it is there.
Needs the extra `web` (starlette, uvicorn).
"""
