// Package ratelimit bounds how much each caller may do in a second.
package ratelimit
