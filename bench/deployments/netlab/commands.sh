# The plugin writes a folder for each server; whoever uses it copies and starts them.
netlab create topology.yml
rsync -az server-north/ root@192.0.2.1:lab/
rsync -az server-south/ root@192.0.2.2:lab/
rsync -az server-east/ root@192.0.2.3:lab/
ssh root@192.0.2.1 'cd lab && netlab up --snapshot'
ssh root@192.0.2.2 'cd lab && netlab up --snapshot'
ssh root@192.0.2.3 'cd lab && netlab up --snapshot'
