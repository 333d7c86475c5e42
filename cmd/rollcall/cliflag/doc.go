// Package cliflag holds what flags are made of: the types that read a flag's text (statuses, event types,
// members, times, durations, points in time), the environment variables that stand for flags, what is wrong
// with a command line in plain words, and the nearest name of a flag that was mistyped.
//
// Which command has which flags does not belong here: that is in the command's own file.
package cliflag
