"""live-record-reaper: deletes the records of live-recording tasks that are over."""
