// Package host has checks of the machine that a program runs on: free disk space, free memory, load. Each is a
// [checks.Check] for a [checks.Runner] of package github.com/rollcallhq/rollcall/client/checks:
//
//	err := runner.Add("", host.Disk("disk", "/var/lib/shop"))
//
// What they measure is in the message of their result, not in reasons. Wrong arguments are errors of Runner.Add.
//
// They stand in a package of their own because they need gopsutil, which a program without them does not.
package host
