"""HTTP for the read API's handlers: errors, entity tags, media types, ranges, multipart and streamed bodies."""
