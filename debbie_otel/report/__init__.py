"""What happened, for people: commentary, summary, analysis, Markdown and HTML."""
