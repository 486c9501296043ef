"""A day in the life: mixed load, random changes and `kill -9`, for as long as one likes."""
