"""What runs, in which order: one module for each flow, and the command line."""

from flows.logs import tell_mistakes_once

tell_mistakes_once()
