"""OpenVPN's options: words in, values or located mistakes out."""
