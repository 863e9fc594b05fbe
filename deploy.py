"""What a deploy does, in order. Each line is a file in tasks/."""

from tasks.access import access
from tasks.announce import announce
from tasks.apps import apps
from tasks.certificates import certificates
from tasks.deploy_keys import deploy_keys
from tasks.environment import environment
from tasks.firewall import firewall
from tasks.limits import limits
from tasks.link_local import link_local
from tasks.lock import lock
from tasks.nginx import nginx
from tasks.postgresql import postgresql
from tasks.preflight import preflight
from tasks.releases import releases
from tasks.ssh import ssh
from tasks.system import system
from tasks.timers import timers
from tasks.tools import tools
from tasks.watch import watch

preflight()
lock()
environment()
system()
ssh()
firewall()
deploy_keys()  # before our programs: an older one takes what it says, too
tools()
postgresql()
limits()
apps()
link_local()
nginx()  # over HTTP alone where there is no certificate yet: certbot needs port 80 answered
releases()
certificates()
nginx()  # and now over HTTPS
access()
timers()
watch()  # last: it knows the server as this run leaves it
announce()
