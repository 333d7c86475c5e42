// Package servicemanager tells systemd how a node or an agent does, by sd_notify(3): that it serves, what it does, that it
// is alive (the watchdog), that it reads its configuration again, and that it stops. Without systemd, or with another
// service manager, it does nothing.
package servicemanager
