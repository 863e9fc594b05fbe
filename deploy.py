"""What a deploy does, in order. Each line is a file in tasks/."""

from tasks.access import access
from tasks.announce import announce
from tasks.apps import apps
from tasks.certificates import certificates
from tasks.deploy_keys import deploy_keys
from tasks.environment import environment
from tasks.firewall import firewall
from tasks.link_local import link_local
from tasks.lock import lock
from tasks.monitoring import monitoring
from tasks.nginx import nginx
from tasks.postgresql import postgresql
from tasks.preflight import preflight
from tasks.releases import releases
from tasks.resources import resources
from tasks.ssh import ssh
from tasks.system import system
from tasks.timers import timers
from tasks.tools import tools

preflight()
lock()
environment()
system()
ssh()
firewall()
deploy_keys()  # before our programs: older ones understand the new file, not the reverse
tools()
postgresql()
resources()
apps()
link_local()
nginx()  # over HTTP only without a certificate: certbot needs it on port 80
releases()
certificates()
nginx()  # now over HTTPS
access()
timers()
monitoring()  # last: it checks against the state that this run leaves
announce()
