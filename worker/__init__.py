"""Workers: processes that claim parts and do them. Nobody imports this; `charrnn-jobs worker` starts it."""
