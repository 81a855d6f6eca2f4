"""What tasks and their streams are called."""


def stream_of(group: str, task_id: int) -> str:
    """The name of a task's stream; its ``group`` is what stands before the dash."""
    return f"{group}-{task_id}"
