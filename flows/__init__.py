"""What runs, in which order: one module for each flow, and the command line."""

from flows.logs import show_steps, tell_mistakes_once

show_steps()
tell_mistakes_once()
