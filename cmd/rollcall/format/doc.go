// Package format writes values for the terminal of a command and for programs that read its output:
// tables, times, durations and numbers for people, and YAML. The JSON form of API messages is package apijson.
//
// What a command prints, and when, does not belong here: that is in the command's own file.
package format
