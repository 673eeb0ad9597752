"""What runs beside a training: pictures, figures, alarms, benchmarks, progress."""
