"""What trains networks: the loop and its run folder, several processes, retraining, evaluation."""
