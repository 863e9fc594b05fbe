"""Names that an app can't have, because its user, units or folders would conflict with others.

Users, groups, units, and folders in /etc, /run, /var/lib and /var/lib/onebox that Debian or onebox
uses or may use, and two roles that PostgreSQL doesn't create.
"""

RESERVED_NAMES = {
    "acme", "adduser", "adm", "alternatives", "apparmor", "apt", "audio", "avahi", "backup", "bin",
    "certbot", "console-setup", "credentials", "cron", "crond", "cups", "daemon", "dbus",
    "debconf", "default", "dhcp", "dhcpcd", "dialout", "dictionaries-common", "disk", "dkms",
    "docker", "dpkg", "emacs", "emergency", "environment", "exim4", "fail2ban", "fonts",
    "fstab", "games", "getty", "git", "gnats", "graphical", "group", "grub", "gshadow", "halt",
    "host", "hostname", "hosts", "initctl", "initramfs-tools", "iproute2", "irc", "issue",
    "kernel", "kexec", "kmod", "ldap", "letsencrypt", "lib", "list", "locale", "lock", "log",
    "login", "logrotate", "lp", "lvm", "mail", "man", "man-db", "messagebus", "misc", "mlocate",
    "motd", "mount", "multi-user", "network", "networking", "networks", "news", "nftables",
    "nginx", "nobody", "nogroup", "none", "nss", "nvme", "operator", "opt", "os-release", "pam",
    "passwd", "perl", "plugdev", "polkit", "polkit-1", "postfix", "postgres", "postgresql",
    "postgresql-common", "poweroff", "private", "profile", "protocols", "proxy", "public",
    "python", "python3", "qemu", "reboot", "redis", "rescue", "resolvconf", "root", "rpc",
    "rsyslog", "sasl", "screen", "security", "selinux", "services", "sgml", "shadow", "shells",
    "shm", "shutdown", "skel", "sleep", "snap", "snapd", "src", "ssh", "sshd", "ssl", "staff",
    "subgid", "subuid", "sudo", "sudoers", "suspend", "swap", "sync", "sys", "syslog",
    "systemd", "sysusers", "tape", "terminfo", "timers", "tmpfiles", "tty", "ucf", "udev",
    "udisks2", "ufw", "umount", "unattended-upgrades", "user", "users", "utmp", "uucp", "uuidd",
    "video", "vim", "voice", "www-data", "xdg", "xml",
}  # fmt: skip
RESERVED_PREFIXES = ("onebox", "systemd-")
