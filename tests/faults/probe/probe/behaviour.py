"""The behaviour of this release. Tests replace this file: each number is another artifact."""

NUMBER = 0
KIND = "good"
