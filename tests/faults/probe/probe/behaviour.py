"""How this release behaves. Tests replace this file: each number is another artifact."""

NUMBER = 0
KIND = "good"
