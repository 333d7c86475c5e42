// Package accesstoken makes and reads the text of tokens: rct_ID_SECRET, 64 characters. A token proves to a node that
// its holder is the identity token:NAME.
//
// SECRET is 43 characters of 0-9, A-Z and a-z, of at least 250 random bits. ID is the first 16 hexadecimal digits of
// the SHA-256 of SECRET. So ID says which token it is without giving it away, and a slip of any character is found
// without asking a node. Who makes the token keeps its text. The cluster is told the SHA-256 of SECRET, and stores
// nothing else: random bits need no slow hash.
//
// What a token may do, and whether there is such a token, is known to the cluster alone.
package accesstoken
