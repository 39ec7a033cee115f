"""Rollouts of a policy on a task suite, their statistics, pictures and reports."""
