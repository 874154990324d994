"""What installs the project for a team; nothing here is imported by the package."""
