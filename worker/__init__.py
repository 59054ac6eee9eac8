"""Workers: processes that claim parts and run them. No other package imports this; `charrnn-jobs worker` starts it."""
