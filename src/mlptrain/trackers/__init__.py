"""Where a run can be followed: a file of events, TensorBoard, MLflow. One file for each, found by its name."""
