"""From an image's bytes to a picture: requests, samples, tones, encoding."""
