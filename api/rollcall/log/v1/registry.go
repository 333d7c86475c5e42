package logv1

// RegistryFormat is the format of registry.db that this code writes and reads.
const RegistryFormat = 1
