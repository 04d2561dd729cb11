"""What a lab counts, for Prometheus: values in `families`, HTTP in `endpoint`.

Nothing is computed unless somebody asks. Needs the extra `metrics` (prometheus-client).
"""
