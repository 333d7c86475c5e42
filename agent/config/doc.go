// Package config reads the file that says what rollcall agent does.
//
// Load returns a Config that is whole and checked, or an [Error] with the place in the file. What the file does not
// say stands in the Config as its default. Every key is known: one that is mistyped, given twice, or that belongs
// somewhere else, is an error.
//
// What belongs here: the schema, defaults, what is wrong with a file, and what the checks of the file are. What does
// not: running any of it (agent).
package config
