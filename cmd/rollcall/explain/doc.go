// Package explain says in words, for people, what decides over the status of a service: its report, the
// overrides that cover it, and the rules that bound how many services may stop.
//
// It takes messages of the API and returns text. Which command prints it, and the JSON for programs, does not
// belong here.
package explain
