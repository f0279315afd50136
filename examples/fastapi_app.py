"""The engine in a FastAPI app: a picture's bytes in, its vector out. Serve it: `uvicorn examples.fastapi_app:app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request

from semblance import Batcher, DeadlineExceeded, Encoder, ImageError, Overloaded


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with Batcher(Encoder.load("siamese", spinning=False), max_pending_images=1024) as app.state.batcher:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/embed")
async def embed(request: Request) -> list[float]:
    try:
        vector = await request.app.state.batcher.embed(await request.body(), timeout_s=5)
    except ImageError as error:
        raise HTTPException(422, str(error)) from error
    except Overloaded as error:
        raise HTTPException(429, str(error), headers={"Retry-After": "1"}) from error
    except DeadlineExceeded as error:
        raise HTTPException(504, str(error)) from error
    return vector.tolist()
