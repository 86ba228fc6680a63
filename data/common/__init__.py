"""What every room needs: errors, paths, files written whole, checked JSON, downloads, words for
numbers."""
