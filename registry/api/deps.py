"""What routes are given: the one registry, and the queue in front of its studio."""

from typing import Annotated

from fastapi import Depends, Request

from registry.api.queue import GenerationQueue
from registry.service import Registry


def _registry(request: Request) -> Registry:
    registry: Registry = request.app.state.registry
    return registry


def _queue(request: Request) -> GenerationQueue:
    queue: GenerationQueue = request.app.state.queue
    return queue


RegistryDep = Annotated[Registry, Depends(_registry)]
QueueDep = Annotated[GenerationQueue, Depends(_queue)]
