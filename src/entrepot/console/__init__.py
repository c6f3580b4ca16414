"""The control plane on its own port: a slow page or a hung admin call must never delay a request.

Built on Starlette and uvicorn (extra `console`): nothing here is hot, so a well-kept framework serves
better than code of our own.
"""
