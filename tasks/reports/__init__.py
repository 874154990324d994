"""Reports: HTML pages and pictures of trainings and studies."""
