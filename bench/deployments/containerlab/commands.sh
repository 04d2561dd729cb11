# The bridge has to be there beforehand; each server gets its own file.
ssh root@192.0.2.1 'ip link add lan type bridge && ip link set lan up'
scp north.clab.yml root@192.0.2.1:
scp south.clab.yml root@192.0.2.2:
scp east.clab.yml root@192.0.2.3:
ssh root@192.0.2.1 containerlab deploy -t north.clab.yml
ssh root@192.0.2.2 containerlab deploy -t south.clab.yml
ssh root@192.0.2.3 containerlab deploy -t east.clab.yml
