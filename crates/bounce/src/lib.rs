//! Delivery status notifications: from outcomes to message bytes.
