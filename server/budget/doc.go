// Package budget bounds, in bytes, the memory that a node holds for its clients: for one connection, and for
// all together. A user takes bytes from a budget and gives them back when the memory is free again.
//
// How many bytes a message or a change takes does not belong here. The users of a budget estimate it.
package budget
