"""Many hosts from one file: keys, a slice for each host, and the Ansible playbooks that install them.

Ansible, systemd and OpenSSH do the work on the hosts. This package adds what only tmelink knows: which part
of the file a host needs, which keys and files go with it, and what has to be up afterwards.
"""
