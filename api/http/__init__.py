"""HTTP as the read API's handlers use it: errors, entity tags, ranges, multipart and streamed bodies."""
