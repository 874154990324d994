"""What Prometheus reads: requests, tokens, the batch, the queue and times, by vector version."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pas.decoding.scheduler import Scheduler

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100)


class Metrics:
    """The numbers of one server."""

    def __init__(self, scheduler: Scheduler) -> None:
        """Start at zero.

        Args:
            scheduler: Its load is read when metrics are asked for.
        """
        self._registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=self._registry)

        def histogram(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(name, text, labels, registry=self._registry, buckets=_SECONDS)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, registry=self._registry)

        self.requests = counter(
            "pas_serve_requests", "Requests that were answered", "endpoint", "status", "vector"
        )
        self.tokens = counter("pas_serve_tokens", "Tokens", "kind", "vector")
        self.seconds = histogram(
            "pas_serve_request_seconds", "From a request to the end of its answer", "endpoint"
        )
        self.first = histogram(
            "pas_serve_first_token_seconds", "From a request to its first token", "endpoint"
        )
        load = scheduler.load
        gauge("pas_serve_running", "Sequences in the batch").set_function(lambda: load.running)
        gauge("pas_serve_waiting", "Sequences that wait").set_function(lambda: load.waiting)
        gauge("pas_serve_steps", "Forward calls of the batch").set_function(lambda: load.steps)
        gauge("pas_serve_rows", "Sum of the batch sizes of these calls").set_function(
            lambda: load.rows
        )

    def text(self) -> bytes:
        """Return the exposition."""
        return generate_latest(self._registry)
