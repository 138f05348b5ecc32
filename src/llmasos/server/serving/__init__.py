"""Models in service, behind one interface that all APIs speak to."""
