//! Test tools: dialogs, fake DNS, scripted SMTP sink, mail diff, ports.
